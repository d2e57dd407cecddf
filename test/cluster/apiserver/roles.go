// Decides by the Role objects that are stored here. Kubernetes' own RBAC authorizer is in no library; what a rule covers is asked of the
// library function with which Kubernetes compares rules (k8s.io/component-helpers).
package main

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	rbacclient "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/component-helpers/auth/rbac/validation"
)

type roleAuthorizer struct{ roles rbacclient.RbacV1Interface }

func (a roleAuthorizer) Authorize(ctx context.Context, request authorizer.Attributes) (authorizer.Decision, string, error) {
	wanted := rbacv1.PolicyRule{Verbs: []string{request.GetVerb()}}
	if request.IsResourceRequest() {
		name := request.GetResource()
		if request.GetSubresource() != "" {
			name += "/" + request.GetSubresource()
		}
		wanted.APIGroups, wanted.Resources = []string{request.GetAPIGroup()}, []string{name}
		if request.GetName() != "" {
			wanted.ResourceNames = []string{request.GetName()}
		}
	} else {
		// kubectl reads these first; Kubernetes grants them to everyone who is authenticated (system:discovery)
		wanted.NonResourceURLs = []string{request.GetPath()}
		discovery := rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/version", "/livez", "/readyz"}}
		if covered, _ := validation.Covers([]rbacv1.PolicyRule{discovery}, []rbacv1.PolicyRule{wanted}); covered {
			return authorizer.DecisionAllow, "discovery", nil
		}
	}
	rules, err := a.rulesOf(ctx, request.GetUser(), request.GetNamespace())
	if err != nil {
		return authorizer.DecisionNoOpinion, "", err
	}
	if covered, _ := validation.Covers(rules, []rbacv1.PolicyRule{wanted}); covered {
		return authorizer.DecisionAllow, "a role", nil
	}
	return authorizer.DecisionNoOpinion, fmt.Sprintf("no role grants it to %q", request.GetUser().GetName()), nil
}

// rulesOf reads them anew for each request: a Role that was changed holds at once.
func (a roleAuthorizer) rulesOf(ctx context.Context, caller user.Info, namespace string) ([]rbacv1.PolicyRule, error) {
	var rules []rbacv1.PolicyRule
	everywhere, err := a.roles.ClusterRoleBindings().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, binding := range everywhere.Items {
		if isSubject(binding.Subjects, caller, "") {
			rules = append(rules, a.rulesBy(ctx, binding.RoleRef, "")...)
		}
	}
	if namespace == "" {
		return rules, nil
	}
	here, err := a.roles.RoleBindings(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, binding := range here.Items {
		if isSubject(binding.Subjects, caller, namespace) {
			rules = append(rules, a.rulesBy(ctx, binding.RoleRef, namespace)...)
		}
	}
	return rules, nil
}

// rulesBy finds nothing where the role is missing: such a binding grants nothing.
func (a roleAuthorizer) rulesBy(ctx context.Context, ref rbacv1.RoleRef, namespace string) []rbacv1.PolicyRule {
	if ref.Kind == "ClusterRole" {
		if role, err := a.roles.ClusterRoles().Get(ctx, ref.Name, metav1.GetOptions{}); err == nil {
			return role.Rules
		}
	} else if role, err := a.roles.Roles(namespace).Get(ctx, ref.Name, metav1.GetOptions{}); err == nil {
		return role.Rules
	}
	return nil
}

func isSubject(subjects []rbacv1.Subject, caller user.Info, namespace string) bool {
	for _, subject := range subjects {
		switch subject.Kind {
		case rbacv1.UserKind:
			if subject.Name == caller.GetName() {
				return true
			}
		case rbacv1.GroupKind:
			for _, group := range caller.GetGroups() {
				if subject.Name == group {
					return true
				}
			}
		case rbacv1.ServiceAccountKind:
			home := subject.Namespace
			if home == "" {
				home = namespace
			}
			if serviceaccount.MatchesUsername(home, subject.Name, caller.GetName()) {
				return true
			}
		}
	}
	return false
}
