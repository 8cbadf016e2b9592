// A classic script in the head, not a module: the stored theme must be set before the first paint.
(() => {
  const stored = (() => {
    try {
      return localStorage.getItem("headfirst-theme");
    } catch {
      return null; // a browser that forbids storage still gets the system's theme
    }
  })();
  if (stored === "dark" || stored === "light") document.documentElement.dataset.theme = stored;
})();
