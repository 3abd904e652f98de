"""Takes the person out of DICOM: pseudonyms, keyed UIDs, shifted dates, the PS3.15 profile. Imports the store and pydicom."""
