"""The page: tables, curves and samples of a folder of runs as files that a browser opens from disk or from `view`.

Every file of data is a script that hands JSON to the page (`RE.put`), because a page from disk may load scripts and nothing
else. What a model wrote is data: it becomes text in the browser, never markup.
"""
