"""What the node keeps: instance files, their index, findings, labels. Imports the settings, protocol and pydicom's reader; nothing above."""
