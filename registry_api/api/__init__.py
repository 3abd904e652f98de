"""HTTPS routes for people and their programs, over the same service functions as the pages. Imports the areas; never the other way round."""
