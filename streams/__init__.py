"""The Faust side of salesfx: decode, load, fold, commit. What the numbers mean lives in `salesfx`."""
