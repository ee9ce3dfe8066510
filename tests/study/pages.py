"""Reads a report strictly: tags close in order, ids are unique, nothing is loaded, every picture has a text."""

import json
import re
from html.parser import HTMLParser

from lerac.study.report.page import write_report
from lerac.study.runs.comparison import compare
from lerac.study.statistics import analyse

VOID = {"meta", "link", "wbr", "br", "img"}
SILENT = {"style", "script"}


class Page(HTMLParser):
    """The text, the pictures (their labels), the links and the embedded data of a page."""

    def __init__(self, html):
        super().__init__()
        self.html, self.open, self.text, self.pictures, self.links, self.ids = html, [], "", [], [], []
        self.embedded, self.references = "", []
        self.feed(html)
        self.close()
        assert self.open == []
        assert len(self.ids) == len(set(self.ids))
        assert set(self.references) <= set(self.ids)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert len(attributes) == len(attrs), f"an attribute of <{tag}> is given twice"
        if tag not in VOID:
            self.open.append((tag, attributes))
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag == "img" or attributes.get("role") == "img":
            self.pictures.append(attributes.get("aria-label") or attributes["alt"])
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
                self.links.append(value)
                self.references += [value[1:]] if value.startswith("#") else []
            self.references += re.findall(r"url\(#([^)]*)\)", value or "")
            self.references += [value] if name == "aria-labelledby" else []

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tag, attributes = self.open[-1] if self.open else ("", {})
        if attributes.get("id") == "results":
            self.embedded += data
        elif tag not in SILENT:
            self.text += data

    @property
    def words(self):
        """The text as it is read: single spaces, and a hyphen for every minus."""
        return " ".join(self.text.replace("−", "-").split())

    @property
    def data(self):
        return json.loads(self.embedded)


def report_of(path, study, results, **options):
    """Write the page; options are those of `analyse`."""
    analysis = analyse(results, **options)
    write_report(path, study, compare(study, results, analysis), analysis)


def page_of(folder, study, results, **options):
    path = folder / "report.html"
    report_of(path, study, results, **options)
    return Page(path.read_text(encoding="utf-8"))
