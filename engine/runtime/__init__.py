"""From a bundle to a process: plan, create, init, and the OCI command line."""
