"""The network, the lung mask, volumes, quantification and phantoms. torch and monai; no DICOM, no network. Imports protocol."""
