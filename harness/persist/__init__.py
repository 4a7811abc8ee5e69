"""The set-up of a host that outlasts a boot, as text: nothing of it is written by nicproof."""
