"""Getting a published release: from its addresses, or a local mirror, to a folder that ``convert`` takes."""
