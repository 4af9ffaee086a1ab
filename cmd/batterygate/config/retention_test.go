package config_test

import (
	"strings"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/config"
)

func TestHowLongTheAuditIsKept(t *testing.T) {
	path, _ := valid(t)
	for value, want := range map[string]time.Duration{"0s": 0, "0": 0, "24h": 24 * time.Hour, "9600h": 9600 * time.Hour} {
		c, err := config.Load(path, nil, []string{"retention.audit=" + value})
		if err != nil || c.Retention.Audit != want {
			t.Errorf("%s: %v", value, err)
		}
	}
	for _, value := range []string{"400", "1h", "-1h"} { // 400 without a unit is nanoseconds
		if _, err := config.Load(path, nil, []string{"retention.audit=" + value}); err == nil || !strings.Contains(err.Error(), "retention.audit") {
			t.Errorf("%s: %v", value, err)
		}
	}
	if c, err := config.Load(path, nil, nil); err != nil || c.Retention.Audit != 400*24*time.Hour {
		t.Errorf("default: %v", err)
	}
}
