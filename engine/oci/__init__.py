"""The documents of the OCI specifications: pure parsing and limits, no input or output."""
