"""What brings the system back: checked, copied, put back; each is a command of `progress`."""
