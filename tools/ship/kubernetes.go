package main

import (
	"fmt"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// kubernetes builds deploy/kubernetes, decodes every object strictly into its type, and checks the
// pods against the Pod Security Standard "restricted". It also checks selectors and mounts.
func kubernetes(root string) (string, error) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(root, "deploy/kubernetes"))
	if err != nil {
		return "", err
	}
	var deployments []appsv1.Deployment
	var policies []networkingv1.NetworkPolicy
	configs := map[string]bool{}
	for _, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			return "", err
		}
		switch r.GetKind() {
		case "Deployment":
			var d appsv1.Deployment
			err = yaml.UnmarshalStrict(text, &d)
			deployments = append(deployments, d)
		case "NetworkPolicy":
			var p networkingv1.NetworkPolicy
			err = yaml.UnmarshalStrict(text, &p)
			policies = append(policies, p)
		case "ConfigMap":
			var c corev1.ConfigMap
			err = yaml.UnmarshalStrict(text, &c)
			configs[c.Name] = true
		default:
			err = fmt.Errorf("no check for kind %s", r.GetKind())
		}
		if err != nil {
			return "", fmt.Errorf("%s %s: %w", r.GetKind(), r.GetName(), err)
		}
	}
	if len(deployments) != 1 || len(policies) != 1 || len(configs) != 1 {
		return "", fmt.Errorf("built %d Deployments, %d NetworkPolicies and %d ConfigMaps, want 1 of each", len(deployments), len(policies), len(configs))
	}
	pod := deployments[0].Spec.Template
	for _, selects := range []*metav1.LabelSelector{deployments[0].Spec.Selector, &policies[0].Spec.PodSelector} {
		selector, err := metav1.LabelSelectorAsSelector(selects)
		if err != nil || selector.Empty() || !selector.Matches(labels.Set(pod.Labels)) {
			return "", fmt.Errorf("selector %v is empty or does not match the pods' labels %v (error %v)", selector, pod.Labels, err)
		}
	}
	if err := mounted(pod.Spec, configs); err != nil {
		return "", err
	}
	return "built and decoded strictly; the pods meet the Pod Security Standard \"restricted\"", restricted(pod)
}

// restricted checks a pod with Kubernetes's own admission code.
func restricted(pod corev1.PodTemplateSpec) error {
	judge, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return err
	}
	verdict := policy.AggregateCheckResults(judge.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec))
	if !verdict.Allowed {
		return fmt.Errorf("the pods do not meet the Pod Security Standard \"restricted\": %s (%s)", verdict.ForbiddenReason(), verdict.ForbiddenDetail())
	}
	return nil
}

// mounted checks that every mount has a volume, that every ConfigMap exists, and that only the
// sidecar, which is an init container, mounts the secret. It also checks that the sidecar always
// restarts and has a startup probe and a liveness probe.
func mounted(pod corev1.PodSpec, configs map[string]bool) error {
	volumes := map[string]corev1.Volume{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = v
		if v.ConfigMap != nil && !configs[v.ConfigMap.Name] {
			return fmt.Errorf("volume %s refers to ConfigMap %s, which does not exist", v.Name, v.ConfigMap.Name)
		}
	}
	for i, c := range append(pod.InitContainers[:len(pod.InitContainers):len(pod.InitContainers)], pod.Containers...) {
		sidecar := i < len(pod.InitContainers)
		if sidecar && (c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways || c.StartupProbe == nil || c.LivenessProbe == nil) {
			return fmt.Errorf("init container %s lacks restartPolicy Always, a startup probe or a liveness probe", c.Name)
		}
		for _, m := range c.VolumeMounts {
			v, ok := volumes[m.Name]
			if !ok || v.Secret != nil && !sidecar {
				return fmt.Errorf("container %s mounts volume %s, which either does not exist or has a secret that only the sidecar may mount", c.Name, m.Name)
			}
		}
	}
	return nil
}
