"""What DICOM does not carry: HL7 v2, FHIR, CSV and words of the staff become facts. Imports deidentify, gate and the store."""
