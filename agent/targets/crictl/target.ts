// crictl, which asks the CRI socket that its own file names.
// This room: /etc/crictl.yaml; the smallest target, and the one to copy for a new one.
// Begin here; then observe.ts, plan.ts, examine.ts.
// May touch: two keys of that file.
import { NO_RUNTIME } from '../../model/observed-state.ts'
import type { Target } from '../../model/target.ts'
import { examineCrictl } from './examine.ts'
import { type ObservedCrictl, observeCrictl } from './observe.ts'
import { planCrictl } from './plan.ts'

export const CRICTL: Target<ObservedCrictl> = {
  names: ['crictl'],
  servesHosts: [],
  isReadByContainerd: false,
  async observe({ facts }, { files }) {
    return observeCrictl(facts.socket === NO_RUNTIME ? undefined : facts.socket, files)
  },
  plan: planCrictl,
  // In /etc itself the daemon watches only the files that the agent owns.
  watches: () => [],
  needs: () => [],
  examine: ({ facts }, files) => examineCrictl(facts, files),
}
