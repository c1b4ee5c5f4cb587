//! The edge, end to end in one process: a TLS client, real sockets, a real upstream.
