package window_test

const killDir = "LEAT_WINDOW_KILL_DIR"

func killChild(string) {}
