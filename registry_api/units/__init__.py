"""Administrative units: where sites and ministries belong, and how many people live there. Imports protocol only."""
