//! For users' tests: a store whose faults they command.
