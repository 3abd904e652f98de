"""The relay between readers and hospitals: stock HAProxy and stock OpenSSH, configured from the enrolled sites. Imports server's settings, registry and family."""
