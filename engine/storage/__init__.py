"""What lies on disk: blobs, layers, snapshots, and the rows that make them true."""
