//! The loops: observe, decide, execute, record. All I/O of the controller starts here.
