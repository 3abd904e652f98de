"""An answer set for de-identification in the action classes of MIDI-B, made by code, and its scorer. No file of it is real."""
