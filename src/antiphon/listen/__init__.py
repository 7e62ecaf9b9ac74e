"""The listening room: a run and its collections in the browser, to hear what each feature hears."""
