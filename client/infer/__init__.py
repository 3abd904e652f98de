"""From files to findings: volumes out of DICOM and NIfTI, measurement, model releases, the worker. Imports report, gate, deidentify, store, models."""
