// Lets the event loop turn between reads that are answered at once: a look at a thousand registries would otherwise hold
// up everybody who asks for the agent's health until its end.

/** A health question waits no longer than this for a read to give way. */
const TURN_MS = 15

let turnedAt = 0

/** Resolves at once, or after a turn of the event loop where the last one was `TURN_MS` ago. */
export async function giveWay(): Promise<void> {
  if (performance.now() - turnedAt < TURN_MS) return
  await new Promise<void>((resolve) => void setImmediate(resolve))
  turnedAt = performance.now()
}
