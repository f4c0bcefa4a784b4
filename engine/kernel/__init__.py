"""The only place with ctypes, ioctl and setns: one file per man page; raises plain OSError."""
