"""Tables made anew from the log, beside those that are shown, and put in their place."""
