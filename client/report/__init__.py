"""How a measurement is said: DICOM SEG, DICOM SR, a picture. Imports highdicom, Pillow and protocol; takes arrays and headers, reads no file."""
