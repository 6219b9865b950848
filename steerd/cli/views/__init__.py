"""How a coordinator's answers look in a terminal: one file per answer, each from the JSON to something rich prints."""
