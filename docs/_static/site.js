// A page that was opened as a file may not fetch others, so the search then lists its results without excerpts.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

addEventListener("DOMContentLoaded", () => {
  const chinese = document.documentElement.lang.startsWith("zh");
  const labels = { ".sidebar-drawer": ["Site", "网站"], ".toc-drawer": ["On this page", "本页内容"] };
  for (const [selector, words] of Object.entries(labels)) {
    document.querySelector(selector)?.setAttribute("aria-label", words[Number(chinese)]);
  }
  // A block that is wider than the page can be scrolled by the keyboard only if it can have the focus.
  for (const block of document.querySelectorAll(".highlight pre, .table-wrapper")) {
    if (block.scrollWidth > block.clientWidth) block.tabIndex = 0;
  }
});
