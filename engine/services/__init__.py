"""The verbs users know, each a recipe over the packages below."""
