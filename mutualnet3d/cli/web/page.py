"""Script of the page in the browser, which Streamlit runs from top to bottom for each visitor and each change.

It is in a folder of its own, since Streamlit runs a path and puts its folder before all others on sys.path. Streamlit
makes it the main module, which every process that decodes an upload runs again under another name: so at its top it
imports nothing. Streamlit takes seconds to import.
"""

if __name__ == "__main__":
    from mutualnet3d.cli.web.page_content import show_page

    show_page()
