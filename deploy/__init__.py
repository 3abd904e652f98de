"""How the programs are put to work; drives them by their command lines only."""
