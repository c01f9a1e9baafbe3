//! The embedded store: files on one host, no server.
