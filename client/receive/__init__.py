"""How DICOM comes in: the C-STORE receiver and the intake that every instance passes. Imports deidentify and the store."""
