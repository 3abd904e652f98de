"""The hospital's PACS as a peer: DICOMweb in, pull by rule, findings back. Imports gate, report, deidentify and the store."""
