"""HTTP/1.1 below the applications: connections, what clients may take of a worker, which requests are read at all."""
