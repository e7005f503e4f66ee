"""The pages, one file each; `app` lists them."""
