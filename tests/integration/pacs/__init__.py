"""The exchange with a PACS: Orthanc and dcmtk as real peers, and what goes wrong between them and the node."""
