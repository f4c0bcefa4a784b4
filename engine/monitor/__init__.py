"""One small process per container: its log, its exit code, its sessions."""
