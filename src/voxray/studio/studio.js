(() => {
  // The player's cursor, and what was clicked in the picture. `element`: the gr.HTML; `trigger`: its events.
  const seconds = take => Number(take.querySelector(".wave").dataset.seconds);
  const audioOf = take => take.querySelector("audio");
  let until = Infinity;

  const draw = take => {
    const audio = audioOf(take), at = audio.currentTime, x = 1000 * at / seconds(take);
    take.querySelectorAll(".cursor").forEach(line => {
      line.setAttribute("x1", x); line.setAttribute("x2", x); line.style.opacity = 0.8;
    });
    take.querySelectorAll(".word").forEach(word => word.classList.toggle(
      "now", at >= Number(word.dataset.from) && at < Number(word.dataset.to)));
    if (at >= until) { audio.pause(); until = Infinity; }
  };
  const follow = take => {
    draw(take);
    if (!audioOf(take).paused && take.isConnected) requestAnimationFrame(() => follow(take));
  };
  const takeOf = node => node.closest ? node.closest(".take") : null;

  element.addEventListener("play", event => {
    document.querySelectorAll(".take audio").forEach(other => { if (other !== event.target) other.pause(); });
    follow(takeOf(event.target));
  }, true);
  element.addEventListener("seeking", event => draw(takeOf(event.target)), true);

  const choose = (take, at, word, play) => {
    const audio = audioOf(take);
    until = Infinity;
    audio.currentTime = at;
    if (play) { until = Number(word.dataset.to); audio.play().catch(() => {}); }
    draw(take);
    const words = [...take.querySelectorAll(".word")];
    words.forEach(other => other.classList.toggle("chosen", other === word));
    trigger("click", { take: take.dataset.take, at: at, word: word ? words.indexOf(word) : -1 });
  };
  element.addEventListener("click", event => {
    const take = takeOf(event.target), svg = event.target.closest && event.target.closest("svg");
    if (!take || !svg || event.target.closest("a")) return;
    const box = svg.getBoundingClientRect();
    const at = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * seconds(take);
    const words = [...take.querySelectorAll(".word")];
    const inside = words.find(w => at >= Number(w.dataset.from) && at < Number(w.dataset.to)) || null;
    choose(take, at, inside, false);
  });
  element.addEventListener("keydown", event => {
    const word = event.target.closest && event.target.closest(".word");
    if (!word || (event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    choose(takeOf(word), Number(word.dataset.from), word, true);
  });
})();
