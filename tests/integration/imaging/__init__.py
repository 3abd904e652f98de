"""The imaging rooms with real peers: sockets, processes, dcmtk."""
