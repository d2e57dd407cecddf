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
  // Not watched: too much changes in /etc for this one file, which others rarely change.
  watches: () => [],
  needs: () => [],
  examine: ({ facts }, files) => examineCrictl(facts, files),
}
