"""How a measurement is said: DICOM SEG, DICOM SR, a picture. Imports highdicom, pydicom and Pillow; takes arrays and headers, reads no file."""
