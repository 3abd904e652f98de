"""The link: nodes push parcels, the centre pushes notices, over one gRPC stream per node. Imports every area whose parcels it hands on."""
