"""The centre's federation side: rounds, catalogue, fleet gateway. Imports strategies, models and protocol; never the other programs."""
