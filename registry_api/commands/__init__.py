"""The commands of `acinus-registry` beyond serve and migrate. Imports the areas' service functions."""
