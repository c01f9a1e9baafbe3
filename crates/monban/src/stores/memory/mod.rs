//! The store inside one process: the line itself, under a mutex.
