"""`pydock`: docker's words over the engine's face."""
