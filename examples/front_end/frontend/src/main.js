const showHealth = async () => {
  const answer = await fetch("/api/healthz");
  document.querySelector("#health").textContent = await answer.text();
};

showHealth();
