"""The console: a client of the engine's face, drawn with Textual."""
